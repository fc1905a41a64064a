import pytest

from textgen import place
from textgen.place import Place, find_place

SLURM = {
    "SLURM_PROCID": "2",
    "SLURM_NTASKS": "4",
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_NODELIST": "node[007-009,12],big1",
}


def test_from_arguments():
    found = find_place("10.0.0.5:7000", 4, 0, environment=SLURM)
    assert found == Place("10.0.0.5:7000", 4, 0)


def test_from_the_variables_of_textgen():
    variables = {
        "TEXTGEN_COORDINATOR": "[::1]:7000",
        "TEXTGEN_PROCESSES": "3",
        "TEXTGEN_PROCESS_ID": "0",
    }
    assert find_place(environment=variables | SLURM) == Place("[::1]:7000", 3, 0)
    found = find_place(process_id=1, environment=variables)
    assert found == Place("[::1]:7000", 3, 1)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node[007-009,12],big1", "node007"),
        ("gpu-3", "gpu-3"),
        ("a1,b[2-3]", "a1"),
        ("rack[1-2]-x,c", "rack1-x"),
        ("node[5]", "node5"),
    ],
)
def test_under_slurm(nodes, host):
    found = find_place(environment=SLURM | {"SLURM_STEP_NODELIST": nodes})
    # The port depends on the job: 20,000 plus the number of the job, modulo 10,000.
    assert found == Place(f"{host}:23456", 4, 2)


def test_in_an_indexed_job(monkeypatch):
    full = "poet-3.trainers.default.svc.cluster.local"
    monkeypatch.setattr(place.socket, "getfqdn", lambda: full)
    found = find_place(processes=8, environment={"JOB_COMPLETION_INDEX": "3"})
    first = "poet-0.trainers.default.svc.cluster.local:7000"
    assert found == Place(first, 8, 3)
    monkeypatch.setattr(place.socket, "getfqdn", lambda: "run-10-10")
    found = find_place(processes=11, environment={"JOB_COMPLETION_INDEX": "10"})
    assert found == Place("run-10-0:7000", 11, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "--coordinator, --processes, --process-id, or"),
        ({"coordinator": "a:1", "processes": 2}, "give --process-id, or"),
        ({"coordinator": "a:1", "processes": 2, "process_id": 2}, "from 0 to 1"),
        ({"coordinator": "a:1", "processes": 2, "process_id": -1}, "process_id='-1'"),
        ({"coordinator": "a", "processes": 2, "process_id": 0}, "'a' must be HOST"),
        ({"coordinator": ":1", "processes": 2, "process_id": 0}, "must be HOST:PORT"),
        ({"coordinator": "a:x", "processes": 2, "process_id": 0}, "must be HOST:PORT"),
        ({"coordinator": "a:0", "processes": 2, "process_id": 0}, "must be HOST:PORT"),
        ({"coordinator": "a:70000", "processes": 2, "process_id": 0}, "HOST:PORT"),
        ({"coordinator": "a:1", "processes": 0, "process_id": 0}, "are 0 processes"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        find_place(**arguments, environment={})


def test_numbers_of_the_environment():
    variables = {"TEXTGEN_PROCESSES": "two"}
    with pytest.raises(ValueError, match="processes='two' must be a number"):
        find_place("a:1", process_id=0, environment=variables)


def test_which_process_writes(monkeypatch):
    monkeypatch.delenv("TEXTGEN_PROCESS_ID", raising=False)
    monkeypatch.delenv("TEXTGEN_PROCESSES", raising=False)
    assert place.is_first()
    assert place.number_of_processes() == 1
    monkeypatch.setenv("TEXTGEN_PROCESS_ID", "0")
    monkeypatch.setenv("TEXTGEN_PROCESSES", "3")
    assert place.is_first()
    assert place.number_of_processes() == 3
    monkeypatch.setenv("TEXTGEN_PROCESS_ID", "2")
    assert not place.is_first()
