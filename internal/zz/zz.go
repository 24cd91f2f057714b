// Package zz holds libraries in go.mod while their first users are written.
package zz

import (
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/minio/minio-go/v7"
)
