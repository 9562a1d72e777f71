package dataplane

// What tests of repairs need to know.
const (
	RepairBurst = repairBurst
	RepairEvery = repairEvery
)
