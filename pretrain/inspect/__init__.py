"""The viewer: a data set of narrated clips as one HTML page, to judge its quality in a minute."""
