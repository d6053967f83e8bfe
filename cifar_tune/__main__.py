"""``python -m cifar_tune`` is ``cifar-tune``."""

from cifar_tune.cli.app import main

if __name__ == "__main__":
    main()
