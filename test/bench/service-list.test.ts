/** The Services of a bench: each peer is told of the same ones. */
import { expect, test } from 'vitest'
import { iptablesRules, listServices, nftablesRules } from '../../bench/service-list.ts'

test('as many as wanted, each with an address of its own, one in the middle that somebody is behind', () => {
  for (const count of [1, 2, 1000, 10_000]) {
    const { services, asked } = listServices(count, '10.245.2.2')
    expect(services).toHaveLength(count)
    expect(new Set(services.map(({ clusterIP }) => clusterIP)).size).toBe(count)
    expect(services[count >> 1]).toBe(asked)
    expect(services.filter(({ endpoints }) => endpoints.includes('10.245.2.2'))).toEqual([asked])
    const others = services.filter((one) => one !== asked).flatMap(({ endpoints }) => endpoints)
    expect(new Set(others).size).toBe((count - 1) * 10)
    expect(others.every((address) => address.split('.').every((byte) => Number(byte) < 256))).toBe(true)
  }
})

test('the rules of both of the kernel’s ways lead each Service to its chain', () => {
  const { services, asked } = listServices(3, '10.245.2.2')
  expect(nftablesRules(services, asked)).toContain(`${asked.clusterIP} . tcp . 5202 : goto asked`)
  const lines = iptablesRules(services, asked).split('\n')
  expect(lines).toContain(`-A KUBE-SERVICES -d ${asked.clusterIP}/32 -p tcp -m tcp --dport 5204 -j KUBE-SVC-ASKED`)
  expect(lines).toContain('-A KUBE-SEP-ASKED-0 -p tcp -m tcp -j DNAT --to-destination 10.245.2.2')
  expect(lines.filter((line) => line.startsWith('-A KUBE-SVC-OTHER'))).toHaveLength(10)
})
