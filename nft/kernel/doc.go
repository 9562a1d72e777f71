// Package kernel is the way to the kernel's nf_tables: it commits transactions
// and reads tables back, over netlink. It knows nothing of Services.
//
// A transaction goes out as one datagram, is done by the kernel before the
// send returns, and is acknowledged once. That is several times faster than a
// message and an answer for each object, and either all of it happens or
// nothing does.
package kernel
