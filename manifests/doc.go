// Package manifests reads Services, EndpointSlices and Nodes from files, in
// place of an API server. What can't be read is named with its file, document
// and line; everything else is read all the same.
package manifests
