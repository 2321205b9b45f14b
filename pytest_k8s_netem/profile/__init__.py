"""What is declared: TrafficProfile, its units, selectors, dialects, presets and schema. Pure, standard library only."""
