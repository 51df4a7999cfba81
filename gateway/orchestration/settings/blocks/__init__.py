"""What each pattern needs beyond roles and limits: one block of a workflow's settings, named as the pattern is."""
