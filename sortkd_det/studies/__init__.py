"""What is done with whole runs: a demo, tables of papers, runs that are killed; figures."""
