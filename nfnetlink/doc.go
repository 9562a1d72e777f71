// Package nfnetlink has what all talk with netfilter over netlink has in common: a
// socket that datagrams go over as they are, and the messages in a datagram. What
// the messages say is for those who send them.
package nfnetlink
