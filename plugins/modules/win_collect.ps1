#!powershell

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Not run on a real Windows yet. Collects and judges nothing; whatever is asked here has a time limit.

#AnsibleRequires -CSharpUtil Ansible.Basic
#Requires -Module Ansible.ModuleUtils.ArgvParser

$spec = @{
    options = @{
        programs = @{
            type = 'list'
            elements = 'dict'
            default = @()
            options = @{
                name = @{ type = 'str'; required = $true }
                argv = @{ type = 'list'; elements = 'str'; required = $true }
                seconds = @{ type = 'float'; required = $true }
                needs = @{ type = 'str'; default = '' }
                removes = @{ type = 'str'; default = '' }
                writes = @{ type = 'bool'; default = $false }
            }
        }
        folders = @{
            type = 'list'
            elements = 'dict'
            default = @()
            options = @{
                name = @{ type = 'str'; required = $true }
                path = @{ type = 'str'; required = $true }
                seconds = @{ type = 'float'; required = $true }
            }
        }
        seconds = @{ type = 'float'; default = 10.0 }
    }
    supports_check_mode = $true
}
$module = [Ansible.Basic.AnsibleModule]::Create($args, $spec)

$notFound = 127
$timedOut = 124
# Characters of an output that are kept; the end of it says why a program stopped.
$kept = 262144

function Get-Tail {
    param([string]$Text)
    if ($Text.Length -gt $kept) { return $Text.Substring($Text.Length - $kept) }
    return $Text
}

function New-Answer {
    param([int]$Code, [string]$Out, [string]$ErrorText, [System.Diagnostics.Stopwatch]$Clock)
    return @{
        rc = $Code
        out = Get-Tail -Text $Out
        err = Get-Tail -Text $ErrorText
        seconds = [Math]::Round($Clock.Elapsed.TotalSeconds, 3)
    }
}

function New-StartInfo {
    param([string]$File, [string[]]$Arguments)
    $info = New-Object -TypeName System.Diagnostics.ProcessStartInfo
    $info.FileName = $File
    $info.Arguments = Argv-ToString -arguments $Arguments
    $info.UseShellExecute = $false
    $info.CreateNoWindow = $true
    $info.RedirectStandardInput = $true
    $info.RedirectStandardOutput = $true
    $info.RedirectStandardError = $true
    $utf8 = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
    $info.StandardOutputEncoding = $utf8
    $info.StandardErrorEncoding = $utf8
    # Otherwise Python writes into a pipe in the code page of the system.
    $info.EnvironmentVariables['PYTHONUTF8'] = '1'
    $info.EnvironmentVariables['PYTHONIOENCODING'] = 'utf-8'
    return $info
}

function Stop-Tree {
    param([System.Diagnostics.Process]$Process)
    $info = New-StartInfo -File 'taskkill.exe' -Arguments @('/PID', "$($Process.Id)", '/T', '/F')
    $killer = New-Object -TypeName System.Diagnostics.Process
    $killer.StartInfo = $info
    try {
        [void]$killer.Start()
        [void]$killer.WaitForExit(5000)
    }
    catch { $module.Warn("taskkill.exe: $($_.Exception.GetBaseException().Message)") }
    [void]$Process.WaitForExit(2000)
}

function Read-Task {
    param([System.Threading.Tasks.Task[string]]$Task)
    # A child that outlives its parent keeps the pipe open: what is not there by then is left.
    if ($Task.Wait(2000)) { return $Task.Result }
    return ''
}

function Invoke-Program {
    param([System.Collections.IDictionary]$Program)
    $words = @($Program.argv)
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $process = New-Object -TypeName System.Diagnostics.Process
    $process.StartInfo = New-StartInfo -File $words[0] -Arguments @($words | Select-Object -Skip 1)
    try { [void]$process.Start() }
    catch { return New-Answer -Code $notFound -ErrorText "$($words[0]): $($_.Exception.GetBaseException().Message)" -Clock $clock }
    $process.StandardInput.Close()
    $out = $process.StandardOutput.ReadToEndAsync()
    $errors = $process.StandardError.ReadToEndAsync()
    $code = $timedOut
    if ($process.WaitForExit([int]($Program.seconds * 1000))) { $code = $process.ExitCode } else { Stop-Tree -Process $process }
    $clock.Stop()
    return New-Answer -Code $code -Out (Read-Task -Task $out) -ErrorText (Read-Task -Task $errors) -Clock $clock
}

function Invoke-Limited {
    param([scriptblock]$Work, [double]$Seconds, [object[]]$Arguments = @())
    # A share or WMI that hangs must not hang the module: the work is left behind in a runspace of its own.
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $shell = [powershell]::Create()
    [void]$shell.AddScript($Work.ToString())
    foreach ($argument in $Arguments) { [void]$shell.AddArgument($argument) }
    $pending = $shell.BeginInvoke()
    if (-not $pending.AsyncWaitHandle.WaitOne([int]($Seconds * 1000))) {
        [void]$shell.BeginStop($null, $null)
        return New-Answer -Code $timedOut -ErrorText "no answer within $Seconds s" -Clock $clock
    }
    try { $lines = $shell.EndInvoke($pending) }
    catch { return New-Answer -Code 1 -ErrorText "$($_.Exception.GetBaseException().Message)" -Clock $clock }
    finally { $shell.Dispose() }
    return New-Answer -Code 0 -Out ($lines -join "`n") -Clock $clock
}

$system = {
    $os = Get-CimInstance -ClassName Win32_OperatingSystem -ErrorAction Stop
    $computer = Get-CimInstance -ClassName Win32_ComputerSystem -ErrorAction Stop
    ConvertTo-Json -Compress -InputObject @{
        caption = "$($os.Caption)"
        version = "$($os.Version)"
        manufacturer = "$($computer.Manufacturer)"
        model = "$($computer.Model)"
    }
}
$volumes = {
    $found = Get-CimInstance -ClassName Win32_LogicalDisk -Filter 'DriveType = 3' -ErrorAction Stop
    $rows = @($found | ForEach-Object -Process { @{ drive = "$($_.DeviceID)"; free = [int64]$_.FreeSpace; size = [int64]$_.Size } })
    ConvertTo-Json -Compress -InputObject $rows
}
# The registry and not wsl.exe: that of Server 2019 cannot list, and others answer in the system's language.
$distributions = {
    foreach ($hive in Get-ChildItem -Path Registry::HKEY_USERS -ErrorAction SilentlyContinue) {
        $path = "Registry::$($hive.Name)\Software\Microsoft\Windows\CurrentVersion\Lxss"
        foreach ($entry in Get-ChildItem -Path $path -ErrorAction SilentlyContinue) { "$($entry.GetValue('DistributionName'))" }
    }
}
$reachable = {
    param([string]$Path)
    if (-not (Test-Path -LiteralPath $Path -PathType Container)) { throw "$Path is not there, or not for this user" }
    $Path
}

$remove = {
    param([string]$Path)
    if (Test-Path -LiteralPath $Path -PathType Leaf) { Remove-Item -LiteralPath $Path -Force -ErrorAction Stop }
}

$limit = $module.Params.seconds
$outputs = @{
    system = Invoke-Limited -Work $system -Seconds $limit
    volumes = Invoke-Limited -Work $volumes -Seconds $limit
    distributions = Invoke-Limited -Work $distributions -Seconds $limit
}
foreach ($folder in $module.Params.folders) {
    $outputs[$folder.name] = Invoke-Limited -Work $reachable -Seconds $folder.seconds -Arguments @($folder.path)
}
foreach ($program in $module.Params.programs) {
    if ($program.writes -and $module.CheckMode) { continue }
    if ($program.needs -and -not ($outputs.ContainsKey($program.needs) -and $outputs[$program.needs].rc -eq 0)) { continue }
    if ($program.removes -and -not $module.CheckMode) {
        $removed = Invoke-Limited -Work $remove -Seconds $limit -Arguments @($program.removes)
        # What is still there would pass for what the program writes.
        if ($removed.rc -ne 0) {
            $outputs[$program.name] = $removed
            continue
        }
    }
    $outputs[$program.name] = Invoke-Program -Program $program
}
$module.Result.outputs = $outputs
$module.ExitJson()
