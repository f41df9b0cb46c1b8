"""What every job needs and no science depends on: errors, seeds, batches, progress, files from the Hub, processes."""
