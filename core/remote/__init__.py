"""Another studio, asked over HTTP in its own dialect: a client, and a generator that has it draw."""
