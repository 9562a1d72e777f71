// Package cli is kube-verdict's commands and flags, one file for each command.
// What the commands do is elsewhere; here is how they are told and what they
// print.
package cli
