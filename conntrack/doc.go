// Package conntrack deletes the UDP flows that a change of a Service leaves
// behind. Where a flow goes is decided at its first packet and then kept for as
// long as packets come; UDP has no end that would say otherwise, so a client
// goes on sending to an endpoint that is gone, or past a Service that it met
// before the Service had endpoints.
//
// Changes is the pure part: which flows are stale after some changes. Conn finds
// and deletes them over ctnetlink, and nothing else.
//
// Clean up after the rules are in place: what is deleted before may come back
// the old way with the next packet.
package conntrack
