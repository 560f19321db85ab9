"""HOD data: hands and objects detected, tracked, put into words and checked, so that narrations say what moves."""
