"""A model as one HTML file that writes in any browser."""
