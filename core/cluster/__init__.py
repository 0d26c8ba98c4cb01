"""Workers on Ray: a dispatcher takes jobs from the queue and spreads their images over actors on one machine or many."""
