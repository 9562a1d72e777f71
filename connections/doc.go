// Package connections counts the new connections to each Service port and each
// endpoint, from what the elements of our maps have counted. It knows whose they
// are by the maps alone: a frontend's element carries its Service port's name, and
// an endpoint's lies under the same key.
//
// An element that is replaced begins anew, so the counts are added up here: what it
// had counted comes with its deletion.
package connections
