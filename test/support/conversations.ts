/**
 * Small conversations with servers that say who they are and whom they see: a server in a pod, and clients that ask once,
 * ask by datagrams all the time, or keep one connection busy.
 */
import { type Netns, type NetnsProcess, until } from './netns.ts'

const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname
/** Answers TCP and UDP: NAME ADDRESS-OF-THE-CLIENT; a line that comes over TCP, with itself. */
const SERVER = `const [name, port] = process.argv.slice(1)
const plain = (address) => address.replace('::ffff:', '')
require('node:net').createServer((socket) => {
  socket.on('error', () => {}).write(name + ' ' + plain(socket.remoteAddress) + '\\n')
  socket.on('data', (data) => socket.write(data))
}).listen(Number(port), '::', () => {
  const udp = require('node:dgram').createSocket('udp6')
  udp.on('message', (_, from) => udp.send(name + ' ' + plain(from.address), from.port, from.address))
  udp.bind(Number(port), () => console.log('listening'))
})`
/** Connects as often as it is told, and prints each answer or error. */
const ASK = `const [address, port, times] = process.argv.slice(1)
const ask = (left) => {
  if (left === 0) return
  const socket = require('node:net').connect(Number(port), address)
  socket.setTimeout(5000, () => socket.destroy(new Error('timeout')))
  socket.once('data', (data) => { process.stdout.write(String(data)); socket.end() })
  socket.once('error', (error) => console.log(error.code ?? error.message)).once('close', () => ask(left - 1))
}
ask(Number(times))`
/** One socket: sends a datagram every 50 ms, and prints each answer or error. */
const UDP_ASK = `const [address, port] = process.argv.slice(1)
const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4')
socket.on('message', (data) => console.log(String(data))).on('error', (error) => console.log(error.code))
socket.connect(Number(port), address, () => setInterval(() => socket.send('x', (error) => error && console.log(error.code)), 50))`
/** One connection: sends a line every 20 ms, and prints each that came back. */
const STEADY = `const socket = require('node:net').connect(Number(process.argv[2]), process.argv[1])
let line = 0
socket.on('data', (text) => { console.log(String(text).trim()); setTimeout(() => socket.write(++line + '\\n'), 20) })
socket.on('error', (error) => console.log(error.code)).on('close', () => console.log('closed'))`

/** Resolves once it listens, at all addresses of both families. */
export async function serveNamed(netns: Netns, name: string, port = 8080): Promise<NetnsProcess> {
  const server = netns.spawn(NODE, '-e', SERVER, name, String(port))
  await until(() => server.stdout.includes('listening'), 20_000)
  return server
}

/** What each connection was told first: `NAME ADDRESS`, or the error's code. */
export async function ask(netns: Netns, address: string, port: number, times = 1): Promise<string[]> {
  return (await netns.run(NODE, '-e', ASK, address, String(port), String(times))).trim().split('\n')
}

/** Asks until every answer is one like this. */
export async function reaches(netns: Netns, address: string, port: number, answer: RegExp): Promise<void> {
  await until(async () => (await ask(netns, address, port)).every((line) => answer.test(line)), 20_000)
}

/** Who answered. */
export function tally(lines: string[]): string[] {
  return [...new Set(lines.map((line) => line.split(' ')[0]!))].sort()
}

/** Prints each answer, or error, in a line. */
export function askByDatagrams(netns: Netns, address: string, port: number): NetnsProcess {
  return netns.spawn(NODE, '-e', UDP_ASK, address, String(port))
}

export function lastLineOf(asker: NetnsProcess): string {
  return asker.stdout.trim().split('\n').at(-1)!
}

/** Prints who it reached, then each line that came back: 1, 2, 3 and so on; `closed` at its end. */
export function converse(netns: Netns, address: string, port: number): NetnsProcess {
  return netns.spawn(NODE, '-e', STEADY, address, String(port))
}

/** How many lines came back; an error where one is missing, or the connection has ended. */
export function linesOf(conversation: NetnsProcess): number {
  const [, ...lines] = conversation.stdout.trim().split('\n')
  for (const [i, line] of lines.entries()) {
    if (line !== String(i + 1)) throw new Error(`line ${i + 1} of a conversation is: ${line}`)
  }
  return lines.length
}
