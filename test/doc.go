// Package test drives the real binary against the simulated Microsoft and against
// servers and clients nobody here wrote: Dovecot, Postfix, PostgreSQL, Chromium,
// swaks, msmtp, curl, Python. It has no code of its own outside its tests.
package test
