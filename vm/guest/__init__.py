"""What runs inside of a guest: `init` and `boot` (shell), then `agent.py`, which the host talks to."""
