"""What a person sees of a run: terminal lines and sections, JUnit properties; reads the run's events only."""
