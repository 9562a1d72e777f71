// Package layout has what is common to all layouts of our tables: what they
// depend on besides Services, where in a packet's path they are, and the rules
// that any of them has. How Services are laid out is for nft/maps and nft/chains.
package layout
