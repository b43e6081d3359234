import mobileiqa  # noqa: F401  a signal during the imports of a command ends it in silence
