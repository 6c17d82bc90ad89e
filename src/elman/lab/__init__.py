"""The lab: one page in which a recurrent network is seen, touched and understood."""
