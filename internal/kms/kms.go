// Package kms wraps the master key's work in a cloud key service. The services' own
// libraries are large, so only builds with the tag cloudkeys have them.
package kms
