// Package iptables is the other language of Service traffic: rules as
// iptables-save prints them, with the chains that kube-proxy makes.
//
//	text --Parse--> Dump --String--> text      any dump, byte for byte
//	[]proxy.Service --Render--> Dump           as kube-proxy 1.37 would have it
//	Dump --Interpret--> view.View, warnings    kube-proxy's, of any release
//
// A Dump is plain values: tables, chains, and rules with the matches and targets
// that Services are made of. What others put into a rule is kept as it was
// written. Nothing here does I/O but for reading from an io.Reader.
package iptables
