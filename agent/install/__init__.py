"""Festoon on a real machine: what is put there, and how it is taken away again. Nothing in here runs in a node."""
