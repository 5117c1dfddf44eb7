// The S3 server that rclone has inside, over the files of a folder: whoever asks must have signed as AWS wants it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen; the port that it got is printed with it")
	folder := flag.String("folder", "", "every folder in it is a bucket")
	key := flag.String("key", "", "the access key")
	secret := flag.String("secret", "", "its secret")
	flag.Parse()

	backend := s3mem.New()
	check(filepath.WalkDir(*folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == *folder {
			return err
		}
		below, _ := filepath.Rel(*folder, path)
		bucket, object, isInside := strings.Cut(filepath.ToSlash(below), "/")
		switch {
		case entry.IsDir() && !isInside:
			return backend.CreateBucket(context.Background(), bucket)
		case entry.IsDir():
			return nil
		}
		return put(backend, bucket, object, path)
	}))
	listener, err := net.Listen("tcp", *address)
	check(err)
	server := gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{*key: *secret}))
	fmt.Println(listener.Addr())
	check(http.Serve(listener, server.Server()))
}

func put(backend *s3mem.Backend, bucket, object, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		return err
	}
	_, err = backend.PutObject(context.Background(), bucket, object, map[string]string{}, file, about.Size())
	return err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
