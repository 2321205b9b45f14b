"""What a person reads of a run (terminal, JUnit, evidence), and what ``netem observe`` and ``explain`` print."""
