package handover

// Guard judges an address that is about to be connected to.
var Guard = guard
