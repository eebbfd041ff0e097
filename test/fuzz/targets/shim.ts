/** The CNI shim: what a peer on polderd's socket may answer, and what a runtime may pass (test/fuzz/c/shim.c). */
import type { Target } from '../target.ts'
import { build, Program } from './c-program.ts'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const seed = (kind: number, text: string): Uint8Array => Uint8Array.of(kind, 0, ...utf8(text))

const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}'
const CALL = 'ADD\na-1\n/run/netns/a\neth0\nIgnoreUnknown=1\n/opt/cni/bin\n-\n-\n\n'
const CONFIG = '{"cniVersion":"1.0.0","name":"polder","type":"polder-cni","socket":"/run/x.sock","spool":"/var/x"}'

export async function openShim(): Promise<Target> {
  const program = new Program(build({ name: 'shim', flags: ['-Wno-unused-function'] }))
  return {
    name: 'shim',
    seeds: [
      seed(1, ANSWER),
      seed(1, ANSWER.replace('200 OK', '500 No').replace('{}', '{"code":7}')),
      seed(1, 'HTTP/1.0 404 Not Found\r\n\r\n'),
      seed(0, CALL + CONFIG),
      seed(0, CALL + CONFIG.replace('1.0.0', '1.\\u0031.0\\n')),
    ],
    words: [
      '\r\n',
      '\r\n\r\n',
      'Content-Length: ',
      '200',
      '500',
      '4294967296',
      '-1',
      'HTTP/1.',
      '"',
      '\\u0000',
      '\\',
      '{',
      '}',
      '[',
      '"cniVersion":',
      '"socket":',
      '../',
      'x'.repeat(200),
      '\n',
      ':',
      '\0',
    ].map(utf8),
    bytesMax: 6000,
    run: (input) => program.run(input),
    reset: () => program.end(),
    close: () => program.end(),
  }
}
