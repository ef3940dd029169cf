"""The doctor: examines every source stage by stage and reports where the fault lies."""
