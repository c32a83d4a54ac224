//! Run to completion: workers, the pipeline, chains, generations, counters.
