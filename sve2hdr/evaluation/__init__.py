"""Methods x scenes x conditions -> scores, tables and pictures."""
