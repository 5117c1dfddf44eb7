// The etcd server as one program: the module's own main package needs its sibling folders, which no published module has.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
