"""Floor 4: estimators, tables, plots, the command line, adapters to dataframes and files."""
