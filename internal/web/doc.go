// Package web serves the pages people meet: the list of accounts, the one-time
// link, the way to Microsoft and back, and what monitoring asks for.
//
// It draws and asks; it decides nothing about accounts, which is the vault's
// business. No page calls Microsoft while it is drawn, runs a script, or loads
// anything from another host.
package web
