"""Entry point. Simulator processes import this file again, so what is heavy stays behind the guard."""

if __name__ == "__main__":
    from robot_eval.cli import main

    main()
