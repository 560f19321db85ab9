"""HOD data: hands and objects detected, tracked and put into words, so that narrations say what moves."""
