// Package config is the agent's configuration: a versioned file, the flags that
// override it, their defaults, and what is wrong with them.
package config
