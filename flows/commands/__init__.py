"""The subcommands of `tandem`, by subject. What one needs is imported when it runs, so that help comes at once."""
