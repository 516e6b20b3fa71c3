// What browser this is, in words for a table; what it does not tell stays away.

/** {name, userAgent, system, cores} */
export function thisBrowser() {
  const { userAgent, userAgentData, hardwareConcurrency } = navigator;
  const brand = userAgentData?.brands?.find(({ brand: name }) => !/not.?a.?brand/i.test(name.replace(/[^a-z]/gi, "")));
  return {
    name: brand ? `${brand.brand} ${brand.version}` : named(userAgent),
    userAgent: userAgent.slice(0, 1000),
    system: userAgentData?.platform || systemOf(userAgent),
    cores: hardwareConcurrency || 1,
  };
}

function named(userAgent) {
  const found =
    /(Firefox|Edg|SamsungBrowser|CriOS|FxiOS)\/(\d+)/.exec(userAgent) ??
    /(Chrom\w*)\/(\d+)/.exec(userAgent) ??
    (/Safari\//.test(userAgent) ? ["", "Safari", /Version\/([\d.]+)/.exec(userAgent)?.[1] ?? ""] : null);
  return found ? `${found[1]} ${found[2]}`.trim() : "an unknown browser";
}

function systemOf(userAgent) {
  return /Android [\d.]+|iPhone OS [\d_]+|iPad|Mac OS X [\d_.]+|Windows NT [\d.]+|Linux/.exec(userAgent)?.[0] ?? "";
}
