// Package trace watches real packets on their way through the tables, as the
// kernel itself tells of them (nftrace).
//
//	our tables --Frontends--> what to trace --Table--> a table of its own that marks packets
//	what the kernel tells --Collector--> one packet's way --Words--> the same in words
//
// The table that marks packets comes before ours, and goes with the process that
// made it. Nothing here does I/O.
package trace
