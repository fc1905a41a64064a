"""The files in deploy/, as far as no cluster is needed, and docs/scaling.md.

Their shell commands run, with programs `textgen`, `srun` and `scontrol` that only note
their arguments.
"""

import fnmatch
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from textgen.cli import main
from textgen.place import Place, find_place

CLONE = Path(__file__).parent.parent
DEPLOY = CLONE / "deploy"
KUBERNETES = {
    each["kind"]: each
    for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
}
JOB = KUBERNETES["Job"]
POD = JOB["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
TRAINING = {name: each for name, each in COMPOSE.items() if name != "prepare"}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
SLURM = DEPLOY / "slurm.sh"
GUIDE = (CLONE / "docs" / "scaling.md").read_text("utf-8")


# === Running the commands ===


@pytest.fixture
def run(tmp_path):
    """A function `(words, status=0, **variables) -> (status, calls)`.

    It runs a command in `tmp_path`, where the programs of a cluster only note their
    arguments; `status` is that of `textgen` and `srun`.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("textgen", "srun", "scontrol"):
        path = programs / name
        path.write_text(
            "#!/bin/sh\n"
            f'printf "%s\\n" {name} "$@" "" >> calls\n'
            f"exit {'0' if name == 'scontrol' else '$STATUS'}\n"
        )
        path.chmod(0o755)

    def call(words, status=0, **variables):
        shell = {"PATH": f"{programs}:/usr/bin:/bin", "STATUS": str(status)}
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            words, cwd=tmp_path, env={**shell, **variables}, check=False
        )
        noted = calls.read_text().split("\n\n")[:-1] if calls.exists() else []
        return done.returncode, [each.strip().split("\n") for each in noted]

    return call


def words_of(command):
    """The words of a command of compose, where `$$` is `$`."""
    words = command if isinstance(command, list) else command.split()
    return [word.replace("$$", "$") for word in words]


COMMANDS = {
    "kubernetes": CONTAINER["command"],
    **{name: words_of(each["command"]) for name, each in TRAINING.items()},
    "slurm": ["bash", str(SLURM)],
}


@pytest.mark.parametrize("place", COMMANDS)
def test_training_starts_and_resumes_from_its_checkpoints(place, run, tmp_path):
    def start():
        _, calls = run(COMMANDS[place], SLURM_JOB_ID="7")
        (call,) = calls
        return call[call.index("textgen") + 1 :]

    first = start()
    folder = tmp_path / (first[first.index("--output") + 1]).replace(
        ".keras", ".checkpoints"
    )
    folder.mkdir()
    assert "--resume" not in first
    assert start() == first
    (folder / "best.keras").touch()  # no state of a training
    assert start() == first
    for batches in (500, 1000):
        (folder / f"step-{batches:09}.keras").touch()
        assert start() == [*first, "--resume"]


@pytest.mark.parametrize("place", COMMANDS)
def test_training_is_accepted_by_the_parser(place, run):
    _, calls = run(COMMANDS[place], SLURM_JOB_ID="7")
    words = calls[0][calls[0].index("textgen") + 1 :]
    launch, unknown = main._parser().parse_known_args(words)
    assert (launch.command, unknown) == ("launch", [])
    # The place comes from the environment.
    assert (launch.coordinator, launch.processes, launch.process_id) == (None,) * 3
    train, unknown = main._parser().parse_known_args(words[words.index("train") :])
    assert unknown == []
    # Without them, each process would choose by the speed of its machine.
    assert train.epochs
    assert train.units
    # Equal shares for all processes.
    assert train.batch_size % {"kubernetes": 4, "slurm": 4}.get(place, 2) == 0


def test_preparing_makes_the_corpus_of_the_training(run):
    _, ((_, *words),) = run(words_of(COMPOSE["prepare"]["command"]))
    prepare = main._parser().parse_args(words)
    assert prepare.command == "prepare"
    _, ((_, *words),) = run(COMMANDS["train-0"])
    train = main._parser().parse_args(words[words.index("train") :])
    assert train.corpus == [prepare.output]


def test_commands_in_comments_exist():
    comments = "".join(file.read_text("utf-8") for file in DEPLOY.iterdir())
    commands = re.findall(r"^# .*?\btextgen (prepare .*?)(?: {2,}.*)?$", comments, re.M)
    assert len(commands) == 2
    for command in commands:
        assert main._parser().parse_args(command.split()).output == "poems.ids"


# === Kubernetes ===


def test_kubernetes_objects():
    versions = {kind: each["apiVersion"] for kind, each in KUBERNETES.items()}
    assert versions == {
        "PersistentVolumeClaim": "v1",
        "Pod": "v1",
        "Service": "v1",
        "Job": "batch/v1",
    }
    # `kubectl apply -l part=files` must not start the training.
    parts = {
        kind: each["metadata"]["labels"]["part"] for kind, each in KUBERNETES.items()
    }
    assert parts == {
        "PersistentVolumeClaim": "files",
        "Pod": "files",
        "Service": "training",
        "Job": "training",
    }


def test_all_pods_of_the_job_run_at_the_same_time():
    spec = JOB["spec"]
    variables = {each["name"]: each["value"] for each in CONTAINER["env"]}
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    assert variables == {"TEXTGEN_PROCESSES": str(spec["completions"])}


def test_each_pod_finds_its_place():
    service = KUBERNETES["Service"]
    assert POD["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    # The others look for pod 0 before it is ready.
    assert service["spec"]["publishNotReadyAddresses"] is True
    labels = JOB["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    job, number = JOB["metadata"]["name"], JOB["spec"]["completions"]
    domain = f"{POD['subdomain']}.default.svc.cluster.local"
    for index in range(number):
        variables = {
            **{each["name"]: each["value"] for each in CONTAINER["env"]},
            "JOB_COMPLETION_INDEX": str(index),
            "TEXTGEN_HOST": f"{job}-{index}.{domain}",
        }
        (port,) = (each["port"] for each in service["spec"]["ports"])
        assert find_place(environment=variables) == Place(
            f"{job}-0.{domain}:{port}", number, index
        )


def decision(status, disrupted=False):
    """What the rules of the job do with a pod, as Kubernetes defines them: the first
    rule that applies decides."""
    for rule in JOB["spec"]["podFailurePolicy"]["rules"]:
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions", [])
        assert (codes is None) == bool(conditions)
        if codes is not None:
            assert codes["containerName"] == CONTAINER["name"]
            assert codes["operator"] == "In"
            if status in codes["values"]:
                return rule["action"]
        elif disrupted and {"type": "DisruptionTarget", "status": "True"} in conditions:
            return rule["action"]
    return "Count"


def test_pods_that_fail_are_replaced_unless_the_input_is_bad():
    # Kubernetes refuses a podFailurePolicy with another restartPolicy.
    assert POD["restartPolicy"] == "Never"
    assert decision(2) == "FailJob"
    for status in (1, 75, 134, 137, 143):
        assert decision(status) == "Count"
        assert decision(status, disrupted=True) == "Ignore"
    # A lost pod ends all of them.
    assert JOB["spec"]["backoffLimit"] >= 20 * JOB["spec"]["completions"]


def test_pods_share_one_file_system():
    claim = KUBERNETES["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    user, folder = re.search(r"^USER (\d+)\nWORKDIR (\S+)", DOCKERFILE, re.M).groups()
    for pod in (POD, KUBERNETES["Pod"]["spec"]):
        (volume,), (container,) = pod["volumes"], pod["containers"]
        name = volume["persistentVolumeClaim"]["claimName"]
        assert name == claim["metadata"]["name"]
        assert container["volumeMounts"] == [
            {"name": volume["name"], "mountPath": folder}
        ]
        # Otherwise the user of the image could not write to a new volume.
        assert pod["securityContext"]["fsGroup"] == int(user)
        assert container["image"] == CONTAINER["image"]


# === SLURM ===


def test_slurm_script_is_bash():
    text = SLURM.read_text("utf-8")
    assert text.startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n", SLURM], check=True)
    # sbatch reads no options after the first command.
    before = re.match(r"(?:(?:#.*)?\n)*", text)[0]
    options = re.findall(r"^#SBATCH (--[a-z-]+)(?:=(\S+))?$", before, re.M)
    assert len(options) == len(re.findall(r"^#SBATCH", text, re.M))
    options = dict(options)
    assert "--requeue" in options
    assert options["--open-mode"] == "append"
    # Only the processes get the signal, not this script, which must requeue the job.
    assert re.fullmatch(r"TERM@\d+", options["--signal"])


@pytest.mark.parametrize("status", [0, 1, 2, 75, 134, 137, 143])
def test_slurm_job_is_requeued_unless_it_would_fail_again(status, run):
    code, calls = run(["bash", SLURM], status, SLURM_JOB_ID="7")
    assert code == status
    requeued = [["scontrol", "requeue", "7"]] if status >= 75 else []
    assert calls[1:] == requeued


def test_slurm_job_is_not_requeued_for_ever(run):
    limit = int(re.search(r"^starts=(\d+)", SLURM.read_text("utf-8"), re.M)[1])
    for restarts, requeues in ((0, 1), (limit - 2, 1), (limit - 1, 0), (limit, 0)):
        _, calls = run(
            ["bash", SLURM], 75, SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(restarts)
        )
        assert len(calls) == 1 + requeues


def test_srun_leaves_the_processes_to_themselves(run):
    _, ((*words,),) = run(["bash", SLURM], SLURM_JOB_ID="7", SLURM_CPUS_PER_TASK="8")
    options = words[1 : words.index("textgen")]
    assert sorted(options) == ["--cpus-per-task=8", "--kill-on-bad-exit=0", "--wait=0"]


# === Compose and the image ===


def test_containers_of_compose_find_their_place():
    places = [find_place(environment=each["environment"]) for each in TRAINING.values()]
    assert [each.process_id for each in places] == list(range(len(TRAINING)))
    first = next(iter(TRAINING))
    assert {each[:2] for each in places} == {(f"{first}:7000", len(TRAINING))}


def test_containers_of_compose_are_alike():
    first, *others = (
        {**each, "environment": None, "profiles": None} for each in TRAINING.values()
    )
    assert others == [first]
    assert first["restart"].startswith("on-failure")
    build = first["build"]
    assert (DEPLOY / build["context"]).resolve() == CLONE.resolve()
    assert CLONE / build["dockerfile"] == DEPLOY / "Dockerfile"
    (volume,) = first["volumes"]
    assert volume.endswith(f":{re.search('^WORKDIR (.*)', DOCKERFILE, re.M)[1]}")
    # `up` must not prepare the corpus again.
    assert COMPOSE["prepare"]["profiles"]


def test_image_has_what_pip_needs(tmp_path):
    """The files that the .dockerignore leaves are installed as a wheel is built."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    assert [rule for rule in kept if not (CLONE / rule).exists()] == []
    sections = (CLONE / "setup.cfg").read_text("utf-8")
    named = re.findall(r"^\s+textgen\.(?:data|pretrained) = (\w+)$", sections, re.M)
    named += re.findall(
        r"^(?:long_description = file: |license_files = )(\S+)$", sections, re.M
    )
    assert len(named) == 4
    assert {*named, "textgen", "setup.cfg", "pyproject.toml"} <= set(kept)
    assert any(fnmatch.fnmatch("textgen/__pycache__", rule) for rule in rules[1:])


def test_image_runs_as_a_user_without_rights():
    steps = re.findall(r"^([A-Z]+) (.*)$", DOCKERFILE, re.M)
    names = [name for name, _ in steps]
    assert names[0] == "FROM"
    user = dict(steps)["USER"]
    assert user.isdecimal()
    assert int(user) > 0
    assert "USER" not in names[: names.index("RUN")]
    assert names.index("USER") > max(n for n, each in enumerate(names) if each == "RUN")
    assert "KERAS_BACKEND=jax" in dict(steps)["ENV"].split()
    assert '"/opt/textgen[jax]"' in DOCKERFILE


# === docs/scaling.md ===


def tables(header):
    """The cells of the tables of the documentation whose header begins so."""
    found = re.findall(rf"^\| {header}.*\n\|-.*\n((?:\|.*\n)+)", GUIDE, re.M)
    assert found
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        for lines in map(str.splitlines, found)
    ]


def lstm(symbols, *units, tied=False):
    """The number of parameters, by the definition of an LSTM."""
    size, total = (units[0], symbols * units[0]) if tied else (symbols, 0)
    for each in units:
        total += 4 * each * (size + each + 1)
        size = each
    return total + symbols + (0 if tied else size * symbols)


MODELS = [
    lstm(65, 512),
    lstm(200, 512),
    lstm(65, 1024, 1024),
    lstm(200, 1024, 1024),
    lstm(50_000, 512, tied=True),
]
SHOWN = [MODELS[0], MODELS[2], MODELS[4]]
SPEED = {"CPU": 157e9, "GPU": 20e12}
LINKS = {  # bytes per second, and seconds of delay
    "10 Gbit": (1.25e9, 30e-6),
    "100 Gbit": (12.5e9, 30e-6),
    "NDR": (50e9, 5e-6),
    "NVLink": (450e9, 5e-6),
}


def link_of(text):
    (found,) = (each for name, each in LINKS.items() if re.search(rf"\b{name}", text))
    return found


def exchange(parameters, devices, bandwidth, delay):
    sent = 2 * (devices - 1) / devices * 4 * parameters
    return sent / bandwidth + 2 * (devices - 1) * delay


def test_bytes_of_a_step():
    (table,) = tables("model")
    assert [int(row[1].replace(",", "")) for row in table] == MODELS
    for row, parameters in zip(table, MODELS, strict=True):
        megabytes = [exchange(parameters, p, 1e6, 0) for p in (2, 8, 64, 512)]
        assert row[2:] == [f"{each:.1f}" for each in megabytes]


def test_computed_efficiency_and_speed():
    growing, divided = tables(r"device \|")
    assert (len(growing), len(divided)) == (6, 3)
    for device, network, *cells in growing:
        for parameters, cell in zip(SHOWN, cells, strict=True):
            step = 6 * parameters * 64 * 64 / SPEED[device]
            for devices, value in zip((8, 64, 512), cell.split(", "), strict=True):
                time = exchange(parameters, devices, *link_of(network))
                assert value in (f"{100 * step / (step + time):.0f}", "-")
    for device, network, *cells in divided:
        for parameters, cell in zip(SHOWN, cells, strict=True):
            step = 6 * parameters * 64 * 64 / SPEED[device]
            for devices, value in zip((2, 8, 64), cell.split(", "), strict=True):
                time = exchange(parameters, devices, *link_of(network))
                assert value == f"{step / (step / devices + time):.1f}"


def test_computed_number_of_tokens():
    (table,) = tables("device, network")
    for device, *cells in table:
        bandwidth, _ = link_of(device)
        for efficiency, cell in zip((0.5, 0.8), cells, strict=True):
            tokens = 4 / 3 * efficiency / (1 - efficiency)
            tokens *= SPEED[device[:3]] / bandwidth
            assert float(cell.replace(",", "")) == pytest.approx(tokens, rel=0.03)


def test_commands_and_links_of_the_guide_exist():
    commands = re.findall(r"`textgen ((?:launch|train|prepare) [^`]+)`", GUIDE)
    assert len(commands) >= 5
    for command in commands:
        _, unknown = main._parser().parse_known_args(command.split())
        assert unknown == []
    links = re.findall(r"\]\((?!http)([^)]*)\)", GUIDE)
    assert {f"../deploy/{name}" for name in ("slurm.sh", "Dockerfile")} <= set(links)
    assert [link for link in links if not (CLONE / "docs" / link).is_file()] == []
