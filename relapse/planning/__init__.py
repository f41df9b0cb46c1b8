"""What a job or a study will take, before it runs: peak memory, disk, time; and whether that fits."""
