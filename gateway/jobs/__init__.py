"""The volumes routes: uploads go to the store, ids to the queue, and what came of a job back to its caller."""
