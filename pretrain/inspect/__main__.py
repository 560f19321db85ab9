"""Entry point."""

if __name__ == "__main__":
    from pretrain.inspect.cli import main

    main()
