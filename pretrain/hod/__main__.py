"""Entry point. Worker processes import this file again, so what is heavy stays behind the guard."""

if __name__ == "__main__":
    from pretrain.hod.cli import main

    main()
