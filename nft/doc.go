// Package nft is nftables' objects as plain values: tables, chains, rules,
// sets, maps and their elements. Each value prints as the text that nft(8)
// accepts, and a rule also compiles to the expressions that the kernel takes.
//
//	Table -- Set   -- Element        String: nft syntax, for people and tests
//	      \- Chain -- Rule           Program: register code, for nft/kernel
//
// A Transaction is an ordered list of operations on such objects.
//
// Only constructs that stock nft 1.0.6 can both load and list are here: a rule
// that the kernel takes but nft cannot print makes "nft list ruleset" abort
// for everyone on the node.
package nft
