"""``python -m inmf_flow`` is the same as ``inmf``."""

from inmf_flow.cli import main

if __name__ == "__main__":
    main()
