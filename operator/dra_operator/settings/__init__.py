"""Settings of a program: one typed object, from flags, the environment and a file, and documented by itself."""
